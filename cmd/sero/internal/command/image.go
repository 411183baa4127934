package command

import (
	"context"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/view"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/images"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "build, pull and show the images that workspaces run in",
		Long: `A workspace that names no image runs in sero-node:latest, which is built when it is first
needed. Another is named in sero.json, or in config.json for every workspace.`,
		Example: `  sero image build
  sero image status`,
	}
	return a.group(cmd, a.imageBuildCommand(), a.imagePullCommand(), a.imageListCommand(), a.imageStatusCommand(), a.imageRemoveCommand())
}

// imageFlags are what commands about images have in common.
type imageFlags struct {
	driver   string
	progress string
}

func (a *app) imageFlags(cmd *cobra.Command, f *imageFlags, progress bool) {
	cmd.Flags().StringVar(&f.driver, "driver", "", "`name` of the driver [the best that isolates]")
	_ = cmd.RegisterFlagCompletionFunc("driver", a.completeDrivers)
	a.jsonFlag(cmd)
	if progress {
		cmd.Flags().StringVar(&f.progress, "progress", "auto", "`how` to show progress: auto, plain or none [auto]")
		_ = cmd.RegisterFlagCompletionFunc("progress", cobra.FixedCompletions([]string{"auto", "plain", "none"}, cobra.ShellCompDirectiveNoFileComp))
	}
}

// show starts showing progress as the flag says.
func (a *app) show(f imageFlags) (*view.Progress, error) {
	switch f.progress {
	case "auto":
		return a.view.NewProgress(), nil
	case "plain":
		a.view.Plain = true
		return a.view.NewProgress(), nil
	case "none":
		return &view.Progress{}, nil
	default:
		return nil, usagef("--progress is auto, plain or none, not %q", f.progress)
	}
}

func (a *app) imageBuildCommand() *cobra.Command {
	var flags imageFlags
	var args []string
	var show bool
	r := &apipb.BuildImageRequest{}
	cmd := &cobra.Command{
		Use:        "build [flags] [<dir>]",
		Short:      "build an image",
		SuggestFor: []string{"build"},
		Long: `Builds sero-node:latest from what sero has for it or, given a directory, the Dockerfile in
it. Sandboxes that exist keep the image that they were made from until they are recreated.`,
		Example: `  sero image build
  sero image build --tag shop:latest --build-arg NODE_ENV=test ./images/shop
  sero image build --show`,
		Args: arguments(0, 1, "the directory"),
		RunE: func(cmd *cobra.Command, words []string) (err error) {
			if show {
				return showDockerfile(a.stdout)
			}
			if len(words) > 0 {
				if r.Directory, err = absolute(words[0]); err != nil {
					return err
				}
			}
			if r.GetDockerfile() != "" && r.GetDirectory() == "" {
				return usagef("--file needs the directory to build")
			}
			if r.Args, err = buildArgs(args); err != nil {
				return err
			}
			r.Driver = flags.driver
			return a.buildImage(cmd.Context(), r, flags)
		},
	}
	a.imageFlags(cmd, &flags, true)
	cmd.Flags().StringVarP(&r.Reference, "tag", "t", "", "`reference` that the image gets [sero-node:latest]")
	cmd.Flags().StringVarP(&r.Dockerfile, "file", "f", "", "`path` of the Dockerfile in the directory [Dockerfile]")
	cmd.Flags().StringArrayVar(&args, "build-arg", nil, "give the build an argument, `NAME=VALUE`; may be repeated")
	cmd.Flags().BoolVar(&r.NoCache, "no-cache", false, "build every step anew")
	cmd.Flags().BoolVar(&show, "show", false, "only print the Dockerfile that sero has")
	return cmd
}

func showDockerfile(out io.Writer) error {
	text, err := fs.ReadFile(images.SeroNode(), "Dockerfile")
	if err == nil {
		_, err = out.Write(text)
	}
	return err
}

func buildArgs(list []string) (map[string]string, error) {
	args := map[string]string{}
	for _, arg := range list {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, usagef("--build-arg is NAME=VALUE, not %q", arg)
		}
		args[name] = value
	}
	return args, nil
}

func (a *app) buildImage(ctx context.Context, r *apipb.BuildImageRequest, flags imageFlags) error {
	return a.withImage(ctx, flags, func(ctx context.Context, c *daemonclient.Client, progress *view.Progress) (*apipb.Image, error) {
		stream, err := c.Images.BuildImage(ctx, r)
		if err != nil {
			return nil, err
		}
		defer func() { _ = stream.Close() }()
		for stream.Receive() {
			progress.Step(stream.Msg().GetProgress())
			if i := stream.Msg().GetImage(); i != nil {
				return i, nil
			}
		}
		return nil, stream.Err()
	})
}

// withImage makes one long call that ends in an image, and shows both.
func (a *app) withImage(ctx context.Context, flags imageFlags,
	get func(ctx context.Context, c *daemonclient.Client, progress *view.Progress) (*apipb.Image, error),
) error {
	progress, err := a.show(flags)
	if err != nil {
		return err
	}
	defer progress.Done()
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := call(ctx, readyTimeout)
	defer cancel()
	i, err := get(ctx, c, progress)
	if err != nil {
		return err
	}
	if i == nil {
		return driver.Errorf(daemonclient.DaemonLost, "the daemon ended the call without the image")
	}
	progress.Done()
	return a.view.Image(i)
}

func (a *app) imagePullCommand() *cobra.Command {
	var flags imageFlags
	cmd := &cobra.Command{
		Use:        "pull [flags] <image>",
		Short:      "pull an image",
		SuggestFor: []string{"pull"},
		Long: `Fetches the image from its registry, also if it is here already. A workspace's image is
pulled by itself when it is missing.`,
		Example: `  sero image pull node:22
  sero image pull --progress plain --json node:22`,
		Args: arguments(1, 1, "the image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &apipb.PullImageRequest{Driver: flags.driver, Reference: args[0]}
			return a.withImage(cmd.Context(), flags, func(ctx context.Context, c *daemonclient.Client, progress *view.Progress) (*apipb.Image, error) {
				stream, err := c.Images.PullImage(ctx, r)
				if err != nil {
					return nil, err
				}
				defer func() { _ = stream.Close() }()
				for stream.Receive() {
					progress.Step(stream.Msg().GetProgress())
					if i := stream.Msg().GetImage(); i != nil {
						return i, nil
					}
				}
				return nil, stream.Err()
			})
		},
	}
	a.imageFlags(cmd, &flags, true)
	return cmd
}

func (a *app) imageListCommand() *cobra.Command {
	var flags imageFlags
	cmd := &cobra.Command{
		Use:   "ls [flags]",
		Short: "list the images that sero built",
		Long: `Lists the images that sero built in the driver, with their size and age. Images of others,
pulled ones too, are the engine's to list.`,
		Example: `  sero image ls
  sero image ls --driver docker --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.Images.ListImages(ctx, &apipb.ListImagesRequest{Driver: flags.driver})
			if err != nil {
				return err
			}
			return a.view.Images(r.GetImages())
		},
	}
	a.imageFlags(cmd, &flags, false)
	return cmd
}

func (a *app) imageStatusCommand() *cobra.Command {
	var flags imageFlags
	cmd := &cobra.Command{
		Use:   "status [flags] [<image>]",
		Short: "tell whether an image is there and up to date",
		Long: `Tells whether the image is there, sero-node:latest if none is named, and whether this sero
would build another one now. Nothing is built or pulled.`,
		Example: `  sero image status
  sero image status --json node:22`,
		Args: arguments(0, 1, "the image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.Images.GetImage(ctx, &apipb.GetImageRequest{Driver: flags.driver, Reference: strings.Join(args, "")})
			if err != nil {
				return err
			}
			return a.view.Image(r.GetImage())
		},
	}
	a.imageFlags(cmd, &flags, false)
	return cmd
}

func (a *app) imageRemoveCommand() *cobra.Command {
	var flags imageFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "rm [flags] <image>",
		Short: "remove an image that sero built",
		Long: `Removes an image that this sero built; any other is left alone, and removing one that is
not there succeeds.`,
		Example: `  sero image rm shop:latest
  sero image rm --force --json sero-node:latest`,
		Args: arguments(1, 1, "the image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), 2*callTimeout)
			defer cancel()
			if _, err := c.Images.RemoveImage(ctx, &apipb.RemoveImageRequest{Driver: flags.driver, Reference: args[0], Force: force}); err != nil {
				return err
			}
			return a.view.ImageRemoved(args[0])
		},
	}
	a.imageFlags(cmd, &flags, false)
	cmd.Flags().BoolVar(&force, "force", false, "also if a sandbox uses it")
	return cmd
}
